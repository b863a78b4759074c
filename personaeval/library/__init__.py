"""What there is to run: tasks, personas, and the rows they are made of."""
