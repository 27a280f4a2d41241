# Sends frames that no honest container sends, on eth0 or another DEVICE: WHAT [OF [COUNT]]. Addresses come by the environment:
# ANAMAC, BOBMAC, BRIDGEMAC, ANA, BOB, ANA6, BOB6, GATEWAY6. What counts sends so many, each from another address.
use strict;
use Socket qw(inet_aton inet_pton AF_INET6);

my $gateway = '10.0.3.1';
sub mac { pack 'H12', $_[0] =~ s/://gr }
sub ip { inet_aton $_[0] }
sub ip6 { inet_pton AF_INET6, $_[0] }

my ($ana, $bob, $bridge) = map { mac $_ } @ENV{qw(ANAMAC BOBMAC BRIDGEMAC)};
my $all = mac 'ff:ff:ff:ff:ff:ff';
my ($stranger, $to_nobody) = (mac('02:00:00:00:00:99'), mac('00:00:00:00:00:00'));

sub frame { my ($to, $from, $type, $data) = @_; $to . $from . pack('n', $type) . $data }
sub own { frame($_[0], $ana, @_[1, 2]) }
sub v4 {
    my ($from, $to, $protocol, $data, $piece) = @_;
    my $head = sub { pack('CCnnnCCna4a4', 0x45, 0, 20 + length $data, 7, $piece // 0, 64, $protocol, $_[0], ip($from), ip($to)) };
    my $sum = unpack '%32n*', $head->(0);
    $sum = ($sum & 0xffff) + ($sum >> 16) for 1, 2;
    $head->(~$sum & 0xffff) . $data;
}
sub v6 { my ($from, $to, $next, $data) = @_; pack('NnCC', 6 << 28, length $data, $next, 255) . ip6($from) . ip6($to) . $data }
sub udp { my ($from, $to, $data) = @_; pack('n4', $from, $to, 8 + length $data, 0) . $data }
sub arp { my ($mac, $from) = @_; pack('n2C2n', 1, 0x800, 6, 4, 1) . $mac . ip($from) . $to_nobody . ip($ENV{BOB}) }
# From an address to bob, or to the host, at a port that nothing else uses.
sub datagram { own($bob, 0x800, v4($_[0], $ENV{BOB}, 17, udp(7790, 7790, 'x'))) }
sub datagram6 { own($bob, 0x86dd, v6($_[0], $ENV{BOB6}, 17, udp(7790, 7790, 'x'))) }
sub to_host { own($bridge, 0x800, v4($_[0], $_[1], 17, udp(7790, 7790, 'x'))) }
sub to_host6 { own($bridge, 0x86dd, v6($_[0], $_[1], 17, udp(7790, 7790, 'x'))) }
sub advert { own($bob, 0x86dd, v6($ENV{ANA6}, $ENV{BOB6}, 58, pack('CCnN', 136, 0, 0, 0x20000000) . $_[0])) }
sub dhcp {
    my ($kind, $client) = @_;
    my $head = pack('C4Nn2', 1, 1, 6, 0, 1, 0, 0) . ip($client) . "\0" x 12 . $ana . "\0" x 202;
    udp(68, 67, $head . pack('NC3', 0x63825363, 53, 1, $kind) . "\xff" . "\0" x 13);
}

my ($kind, $of, $count) = @ARGV;
my $device = $ENV{DEVICE} // 'eth0';
sub ip_of { sprintf '10.%d.%d.%d', 50 + $of, $_[0] / 250, $_[0] % 250 }

my %frames = (
    vlan => sub { own($all, 0x8100, pack('nn', 7, 0x800) . v4($ENV{ANA}, $ENV{BOB}, 17, udp(7790, 7790, 'x'))) },
    bridges_mac => sub { frame($all, $bridge, 0x88b5, 'moss' x 12) },
    bobs_mac => sub { frame($all, $bob, 0x88b5, 'moss' x 12) },
    own_mac => sub { own($all, 0x88b5, 'moss' x 12) },
    macs => sub { map { frame($all, pack('nN', 0x0212, $of * 10000 + $_), 0x88b5, 'moss' x 12) } 1 .. $count },
    short_arp => sub { own($all, 0x806, 'moss' x 3) },
    arp_of_no_mac => sub { own($all, 0x806, arp($stranger, $ENV{ANA})) },
    arp_of => sub { own($all, 0x806, arp($ana, $_[0])) },
    arps => sub { map { own($all, 0x806, arp($ana, ip_of($_))) } 1 .. $count },
    short_ip => sub { own($bob, 0x800, 'E' . 'm' x 11) },
    ip_of => sub { datagram($_[0]) },
    ips => sub { map { datagram(ip_of($_)) } 1 .. $count },
    answer => sub { own($bob, 0x800, v4($ENV{ANA}, $ENV{BOB}, 17, udp(67, 7790, 'x'))) },
    redirect => sub { own($bob, 0x800, v4($ENV{ANA}, $ENV{BOB}, 1, pack('CCn', 5, 1, 0) . ip($ENV{ANA}) . 'moss' x 7)) },
    router => sub { own($bob, 0x86dd, v6($ENV{ANA6}, $ENV{BOB6}, 58, pack('C2nC2n', 134, 0, 0, 64, 0, 600) . "\0" x 8)) },
    redirect6 => sub { own($bob, 0x86dd, v6($ENV{ANA6}, $ENV{BOB6}, 58, pack('CCnN', 137, 0, 0, 0) . ip6($ENV{ANA6}) . ip6($ENV{BOB6}))) },
    answer6 => sub { own($bob, 0x86dd, v6($ENV{ANA6}, $ENV{BOB6}, 17, udp(547, 7790, 'x'))) },
    ip6_of => sub { datagram6($_[0]) },
    ip6s => sub { map { datagram6(sprintf 'fd99:%x::%x', $of, $_) } 1 .. $count },
    short_ip6 => sub { own($bob, 0x86dd, '`' . 'm' x 13) },
    advert_of => sub { advert(ip6($_[0])) },
    short_advert => sub { advert('moss') },
    adverts => sub { map { advert(ip6(sprintf 'fd99:%x::%x', $of, $_)) } 1 .. $count },
    to_bob => sub { frame($bob, $stranger, 0x88b5, 'moss' x 12) },
    for_neighbour => sub { to_host($ENV{ANA}, $ENV{BOB}) },
    for_neighbour6 => sub { to_host6($ENV{ANA6}, $ENV{BOB6}) },
    foreign => sub { to_host('192.0.2.9', $gateway) },
    foreign6 => sub { to_host6('fd99::9', $ENV{GATEWAY6}) },
    dhcp_piece => sub { own($bridge, 0x800, v4($ENV{ANA}, $gateway, 17, dhcp(1, '0.0.0.0'), 0x2000)) },
    dhcp_of_bob => sub { own($bridge, 0x800, v4($ENV{ANA}, $gateway, 17, dhcp(7, $ENV{BOB}))) },
);

my ($index) = `ip -o link show dev $device` =~ /^(\d+)/;
socket my $socket, 17, 3, 0 or die "socket: $!";
for my $frame ($frames{$kind}->($of)) {
    send $socket, $frame, 0, pack('SnlSCCa8', 17, 0, $index, 0, 0, 6, $bob) or die "send: $!";
}
