"""The HTTP side: events in, callbacks in, journeys and customers for operators and backends."""
