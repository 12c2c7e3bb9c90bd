"""What a run leaves behind and shows: its folder, its progress, the versions it ran with."""
