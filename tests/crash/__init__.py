"""What breaks the ground below a berthd: disks whose power is cut, calls that fail, and the truth to compare with."""
