"""Self-play to look at: transcripts, reports, replies that many dialogues end in."""
