"""One institution's node: state store, job life cycle, workers and the REST API."""
