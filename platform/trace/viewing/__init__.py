"""Traces to look at: layouts, pages, pictures, reports."""
