"""Attribution: which inputs the output depends on."""
