# Asks the kernel for two things by netlink(7), and says whether it did them. It asks for a
# capability for both, and does the second without.
use Socket;

sub ask {
	my ($protocol, $message) = @_;
	socket(my $s, 16, SOCK_RAW, $protocol) or die "socket: $!"; # AF_NETLINK
	send($s, $message, 0) or die "send: $!";
	recv($s, my $answer, 65536, 0);
	return unpack("x4 S", $answer) == 2 ? -unpack("x16 l", $answer) : 0; # NLMSG_ERROR
}

# RTM_SETLINK takes the device lo down.
$! = ask(0, pack("LSSLL CxSlLL", 32, 19, 5, 1, 0, 0, 0, 1, 0, 1));
print "set: $!\n";
# SOCK_DIAG_BY_FAMILY lists TCP sockets, with more for those who have CAP_NET_ADMIN.
$! = ask(4, pack("LSSLL CCCxL x48", 72, 20, 0x301, 1, 0, 2, 6, 0, 0xffffffff));
print "list: $!\n";
