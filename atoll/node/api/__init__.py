"""The REST API: every call carries a token, every route names the roles that may use it."""
