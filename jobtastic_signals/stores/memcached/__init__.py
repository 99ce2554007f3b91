"""``memcached://``."""
