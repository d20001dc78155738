"""The analysis tasks: what they are asked with, what they read, what they answer. Figures: `collector.analytics`."""
