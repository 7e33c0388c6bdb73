"""The same thing in the interfaces of other libraries."""
