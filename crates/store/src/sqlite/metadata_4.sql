-- Documents by the id in their content, in whatever scope: a request for a function URL or an API names nothing else.
CREATE INDEX document_id ON document (kind, json_extract(value, '$.id')) WHERE json_extract(value, '$.id') IS NOT NULL;
