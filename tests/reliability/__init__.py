"""The fault programme: Tenuto under every fault we can make, and a checker that says whether its promise held."""
