// Has the linter follow the references in the extensions of operations: what they name is used.
export default () => ({
  id: "references",
  preprocessors: {
    oas3: {
      // `of` in `x-bunq-result` is the name of an id, and no reference.
      "ids-of-results": () => ({
        Operation(operation) {
          const id = operation["x-bunq-result"]?.of;
          if (id) operation["x-id-of-result"] = { $ref: `#/components/schemas/${id}` };
        },
      }),
    },
  },
  typeExtension: {
    oas3: (types) => ({
      ...types,
      Operation: {
        ...types.Operation,
        properties: {
          ...types.Operation.properties,
          "x-bunq-content-type": "Schema",
          "x-bunq-refusal": "Schema",
          "x-id-of-result": "Schema",
        },
      },
    }),
  },
});
