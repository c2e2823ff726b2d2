"""What a program holds of a cluster: sessions, fetches and feeds, timelines."""
