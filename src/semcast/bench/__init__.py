"""Measuring: one engine, one kind of record, statistics, tables and plots."""
