"""Programs that do the work of a config. They share with hitui only files and event lines."""
