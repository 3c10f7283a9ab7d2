"""Protocols between parties: choreography over channels. A protocol knows no file, no job and no policy."""
