"""Customer bookings joined with their customers: landed CSV files to the BOOKINGS tables and a CSV for others."""
