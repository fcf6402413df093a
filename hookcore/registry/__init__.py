"""Which plugins there are, what they implement, and what a spec string asks for."""
