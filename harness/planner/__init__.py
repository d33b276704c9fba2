"""What to fold on a device: gains and prices of options -> plans (`choice`, by `programme`) -> why, in words (`words`)."""
