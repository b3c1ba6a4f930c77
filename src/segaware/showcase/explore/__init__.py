"""The page that `segaware explore` writes: masks under the cursor, and a mask that is sharpened as it is painted."""
