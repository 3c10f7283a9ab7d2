"""The life of a job: propose, decide, run, release, deliver, record."""
