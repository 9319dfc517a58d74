"""PostgreSQL, Valkey, migrations, and the embedded servers."""
