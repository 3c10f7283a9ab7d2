"""Where visiting scripts run: a confined process for each package, the same for its author and for its host."""
