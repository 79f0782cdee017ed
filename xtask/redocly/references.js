// Has the linter follow the references in the extensions of operations: what they name is used.
export default () => ({
  id: "references",
  typeExtension: {
    oas3: (types) => ({
      ...types,
      Operation: {
        ...types.Operation,
        properties: {
          ...types.Operation.properties,
          "x-bunq-content-type": "Schema",
          "x-bunq-refusal": "Schema",
        },
      },
    }),
  },
});
