"""Results on disk: schemas, writer, journal, reader, provenance."""
