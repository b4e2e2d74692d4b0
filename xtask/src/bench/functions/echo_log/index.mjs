export const handler = async (event) => {
  console.log("one line per call");
  return event;
};
