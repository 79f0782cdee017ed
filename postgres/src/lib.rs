//! What the machines of a partner agree on, in PostgreSQL.
