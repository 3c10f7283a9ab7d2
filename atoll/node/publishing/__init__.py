"""What an institution publishes, and on whose consent: offers and their acceptance, authorisations of data subjects."""
