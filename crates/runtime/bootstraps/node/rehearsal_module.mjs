// Run once by a waiting interpreter, so that the first module of a function is not the first of the loader.
export const handler = async (event, context) => ({ event, left: context.getRemainingTimeInMillis() });
