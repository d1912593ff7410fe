"""The folder of a sweep: parts on disk, one lazy Dataset over all of them, what is damaged, and ways out."""
