"""What panes show, as data: rows made from a model, with a cursor, without a screen."""
