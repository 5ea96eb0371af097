"""What tests are made with: homes with a pipeline, engine sessions, emulators, servers, generated deliveries.

No tests are in here, and nothing in here is imported by the product.
"""
