"""What programs call around a session: optimizers, savers, coordinators, supervisors."""
