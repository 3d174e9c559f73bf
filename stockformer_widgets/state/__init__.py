"""What is shown, and where the person looks: sessions, selections, and how they tell."""
