"""Customer bookings joined with their customers: from landed CSV files to the BOOKINGS tables and a CSV export."""
