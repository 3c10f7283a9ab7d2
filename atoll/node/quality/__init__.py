"""Quality of the owner's tables: rules, results, alerts; what partners are shown of it and report back."""
