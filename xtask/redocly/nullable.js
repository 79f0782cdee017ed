// For the reference alone: says "nullable" of a member, rather than show its schema and null as two choices.
export default () => ({
  id: "nullable",
  decorators: {
    oas3: {
      "in-a-word": () => ({
        Schema: {
          leave(schema) {
            const [reference, nothing, ...others] = schema.anyOf ?? [];
            if (others.length > 0 || nothing?.enum?.[0] !== null) return;
            delete schema.anyOf;
            Object.assign(schema, { nullable: true, allOf: [reference] });
          },
        },
      }),
    },
  },
});
