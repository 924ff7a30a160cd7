"""PostgreSQL: migrations and queries, SQL visible. Every function takes the connection it works on."""
