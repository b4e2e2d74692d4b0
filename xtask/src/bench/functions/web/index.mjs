export const respond = (body) => {
  const note = JSON.parse(body);
  return JSON.stringify({ key: note.key, number: note.number + 1 });
};

export const handler = async (event) => {
  // What the same function is invoked with directly.
  const text = event.rawPath.endsWith("/event") ? JSON.stringify(event) : respond(event.body);
  return { statusCode: 200, headers: { "content-type": "application/json" }, body: text };
};
