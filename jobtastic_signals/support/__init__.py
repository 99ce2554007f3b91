"""Support: small tools without Celery that the other folders share."""
