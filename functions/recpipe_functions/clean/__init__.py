"""Cleaning: is an event true, new and human?"""
