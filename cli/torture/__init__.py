"""The storm: everything breaks while customers go on living, and then the product's promises are judged."""
