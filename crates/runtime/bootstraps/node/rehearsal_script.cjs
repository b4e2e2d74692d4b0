// The same as a script.
exports.handler = async (event, context) => ({ event, left: context.getRemainingTimeInMillis() });
