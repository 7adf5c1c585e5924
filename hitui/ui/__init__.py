"""The screen: it shows frozen values and asks for things; it owns nothing."""
