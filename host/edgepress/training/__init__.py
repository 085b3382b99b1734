"""Fine-tuning and judging, shared by all compression steps."""
