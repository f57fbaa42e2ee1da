"""The Meal Delivery Routing Problem: instances, solutions and reports."""
