"""An editor for JSON: what is wrong as one types, completion from a schema, what changed."""
