// Has the linter follow the reference in `x-bunq-refusal`: what it names is used.
export default () => ({
  id: "refusal",
  typeExtension: {
    oas3: (types) => ({
      ...types,
      Operation: {
        ...types.Operation,
        properties: { ...types.Operation.properties, "x-bunq-refusal": "Schema" },
      },
    }),
  },
});
